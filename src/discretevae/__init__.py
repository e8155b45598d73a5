"""Variational autoencoders with discrete latent codes.

    >>> import discretevae as dv
    >>> data = dv.load_data("digits")
    >>> model = dv.DiscreteVAE.for_data(data, latent="gaussian:2", hidden=(32,))
    >>> history = dv.train(model, data, dv.TrainConfig(epochs=3))
    >>> dv.evaluate(model, data.test).elbo.value > history[0].test_elbo
    True

Names are loaded when they are first used, so that ``import discretevae`` is instant.
"""

import lazy_loader

# the names stand in __init__.pyi, where type checkers look for them too
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
