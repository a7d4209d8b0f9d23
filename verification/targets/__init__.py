"""Samplers of others, driven as samplers of runs (`run.Run`): one adapter per convention.

| file | convention |
|---|---|
| `k_diffusion.py` | sampler(model, x, sigmas, ..), also ComfyUI's |
| `diffusers.py` | schedulers: set_timesteps, scale_model_input, step |
| `azula.py`, `deepinv.py`, `smalldiffusion.py` | of these packages |
| `flow_matching.py`, `torchdiffeq.py` | solvers of dy/dtau = f(tau, y) |
| `plain.py` | sampler(model, x, times), and objects with `.sample` |
| `ours.py` | listed solvers, tableaux and plans |
| `process.py` | programs that speak JSON lines |

`named.target` finds one by its name.  No package is imported before one of its samplers is made.
"""
