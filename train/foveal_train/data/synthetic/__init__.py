"""A generator of BRSET-shaped data sets, for whoever lacks the credentialed one. No generated eye is anybody's."""

from foveal_train.data.synthetic.camera import jpeg_bytes
from foveal_train.data.synthetic.patients import Camera
from foveal_train.data.synthetic.render import render_fundus
from foveal_train.data.synthetic.writer import synthesise

__all__ = ["Camera", "jpeg_bytes", "render_fundus", "synthesise"]
