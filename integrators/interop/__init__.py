"""Our plans in the frames of other packages: a k-diffusion function, a scheduler of diffusers."""
