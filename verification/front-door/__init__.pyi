from . import (
    analysis as analysis,
)
from . import (
    forms as forms,
)
from . import (
    grids as grids,
)
from . import (
    integrators as integrators,
)
from . import (
    plans as plans,
)
from . import (
    schedules as schedules,
)
from . import (
    verification as verification,
)
from .analysis.convergence import estimate_order as estimate_order
from .analysis.derivation.derive import derive as derive
from .analysis.lookup import prove as prove
from .integrators.plans.compile import compile_plan as compile_plan
from .integrators.plans.program import Plan as Plan
from .integrators.run.models import classifier_free as classifier_free
from .integrators.run.noise import per_sample as per_sample
from .integrators.run.sampler import sample as sample
from .integrators.solver import Ramp as Ramp
from .integrators.solver import Repeat as Repeat
from .integrators.solver import Solver as Solver
from .integrators.solvers import make as make
from .integrators.tableaux.catalogue import CATALOGUE as CATALOGUE
from .integrators.tableaux.tableau import (
    N as N,
)
from .integrators.tableaux.tableau import (
    P as P,
)
from .integrators.tableaux.tableau import (
    Stage as Stage,
)
from .integrators.tableaux.tableau import (
    Tableau as Tableau,
)
from .integrators.tableaux.tableau import (
    adams as adams,
)
from .integrators.tableaux.tableau import (
    interpolate as interpolate,
)
from .integrators.tableaux.tableau import (
    omega as omega,
)
from .integrators.tableaux.tableau import (
    phi as phi,
)
from .integrators.tableaux.tableau import (
    phi1 as phi1,
)
from .integrators.tableaux.tableau import (
    phi2 as phi2,
)
from .integrators.tableaux.tableau import (
    phi3 as phi3,
)
from .integrators.tableaux.tableau import (
    z as z,
)
from .verification.audit.audit import audit as audit
from .verification.claims.ledger import claims as claims
from .verification.distribution.experiment import SampledExperiment as SampledExperiment
from .verification.distribution.study import in_distribution as in_distribution
from .verification.equal_nfe.experiment import NoiseToData as NoiseToData
from .verification.equal_nfe.study import work_precision as work_precision
from .verification.problems.named import problem as problem
from .verification.replay.golden import replay as replay
from .verification.studies.coupled import CoupledExperiment as CoupledExperiment
from .verification.studies.experiment import Experiment as Experiment
from .verification.studies.gaussian import StochasticExperiment as StochasticExperiment
from .verification.studies.measure import measure as measure
from .verification.tracing.trace import trace as trace
