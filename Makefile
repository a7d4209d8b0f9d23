# Everything runs in .venv, which is made from constraints.txt.  PYTHON may name another interpreter >= 3.11.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: verify test check bench gpu audit reports inverse-problems distances learned .typing clean

verify: $(INSTALLED)
	$(BIN)/semilinear verify

test: $(INSTALLED)
	$(BIN)/python -m pytest -n auto --dist worksteal

check: $(INSTALLED) .typing
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	MYPYPATH=.typing $(BIN)/mypy .typing/semilinear tests

# k-diffusion without its dependencies: only its sampling module is loaded.
bench: $(INSTALLED)
	$(BIN)/pip install -q -c constraints.txt --group bench einops
	$(BIN)/pip install -q --no-deps k-diffusion==0.1.1.post1 azula==0.11.1
	$(BIN)/semilinear bench --out reports
	$(BIN)/python -m pytest tests/benchmarks --override-ini addopts=

# What a GPU is asked for, in one run of at most four minutes: docs/gpu.md.
gpu: $(INSTALLED)
	$(BIN)/semilinear gpu --out reports/gpu.json

# The samplers of the field as installed from PyPI: without dependencies, of which their sampling files need few.
# An old diffusers, in an environment of its own over this one, is audited first and stands beside the newest.
OLD := .old
OLD_DIFFUSERS := diffusers==0.29.2 huggingface_hub==0.25.2
audit: $(INSTALLED)
	$(BIN)/pip install -q -c constraints.txt --group bench einops
	$(BIN)/pip install -q --no-deps k-diffusion==0.1.1.post1 azula==0.11.1 deepinv==0.5.0 smalldiffusion==0.5.0 \
	  flow_matching==1.0.10
	mkdir -p $(OLD)/audits/plans
	$(BIN)/python -m venv $(OLD)/venv
	$(BIN)/python -c "import site; print(f'import site; site.addsitedir({site.getsitepackages()[0]!r})')" > \
	  $$($(OLD)/venv/bin/python -c "import site; print(site.getsitepackages()[0])")/newer.pth
	$(OLD)/venv/bin/pip install -q --no-deps $(OLD_DIFFUSERS) requests urllib3 idna certifi charset_normalizer pyyaml
	$(OLD)/venv/bin/python -m semilinear.verification.commands.cli audit 'diffusers:*' --workers 2 \
	  --only orders identity --out $(OLD)/audits --save $(OLD)/audits/plans || test $$? = 1
	$(BIN)/semilinear audit 'diffusers:*' 'k_diffusion:*' 'azula:*' 'deepinv:*' 'smalldiffusion:*' \
	  torchdiffeq:euler torchdiffeq:midpoint torchdiffeq:heun2 torchdiffeq:heun3 torchdiffeq:rk4 \
	  torchdiffeq:explicit_adams flow_matching:euler flow_matching:midpoint flow_matching:heun2 \
	  flow_matching:heun3 flow_matching:rk4 --workers 2 --against $(OLD)/audits --out reports || test $$? = 1

# The committed reports and the README's table, from a full run.
reports: $(INSTALLED)
	$(BIN)/semilinear verify --out reports
	$(BIN)/python -c "from pathlib import Path; from semilinear.verification.reporting.orders import update_readme; \
	  update_readme(Path('README.md'), Path('reports/orders.json'))"

# The committed study of samplers against exact posteriors.
inverse-problems: $(INSTALLED)
	$(BIN)/semilinear report inverse-problems --out reports

# The committed distances of samples from an exact law, of solvers of the flow and stochastic ones.
distances: $(INSTALLED)
	$(BIN)/semilinear report distances --out reports

# The committed study of solvers on a learned score; the first run trains the network.
learned: $(INSTALLED)
	$(BIN)/semilinear report learned --out reports

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --upgrade "pip>=25.1"
	$(BIN)/pip install -q -c constraints.txt -e . --group dev
	touch $@

# mypy cannot follow the editable install of a namespace made of top-level folders: it gets a tree of links.
.typing:
	mkdir -p .typing/semilinear
	cd .typing/semilinear && ln -sfn ../../integrators ../../analysis ../../verification .
	cd .typing/semilinear && ln -sf ../../verification/front-door/*.py* ../../verification/front-door/py.typed .

clean:
	rm -rf $(VENV) .old .typing build *.egg-info .pytest_cache .mypy_cache .ruff_cache
