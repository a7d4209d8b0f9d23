"""What diffusion samplers really do: `import semilinear as sl`.

    sl.make("dpm-solver++-2m")           a solver, by name
    sl.compile_plan(..), sl.sample(..)   its numbers on a schedule and a grid, and a run
    sl.prove(..)                         orders proved from exact coefficients
    sl.measure(..)                       orders measured where the solution is known
    sl.in_distribution(..)               how far samples lie from the exact law, at few evaluations
    sl.work_precision(..)                errors from noise to data at equal evaluations
    sl.derive(..)                        coefficients from order conditions
    sl.estimate_order(..)                the order of any ladder of errors
    sl.audit(..), sl.trace(..)           any sampler: its orders, what it is, what is wrong; its coefficients
    sl.claims(..)                        what papers claim, each claim decided anew
    sl.replay(..)                        numbers of released code, made again
    sl.plans.save(..), sl.plans.load(..) a plan in a file
    sl.per_sample(..)                    noise that depends on neither batch nor device
    sl.classifier_free(..)               a guided model
    sl.CATALOGUE                         tableaux of the literature, by name

`sl.Experiment`, `sl.StochasticExperiment`, `sl.CoupledExperiment`, `sl.NoiseToData` and
`sl.SampledExperiment` say where is measured.  The words in which a solver is written are Solver, Tableau,
Stage, N, P, omega, phi, phi1, phi2, ..  Names are imported when they are asked for; what is not about tensors
does not import torch.  The stub beside this file says where each of them lives, for people, type checkers and
the loader alike.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
