import torch
from torch import nn
from torch.nn.functional import linear, relu

from offnormal.detectors.embedding_ae.networks import EmbeddingAutoencoder


def describe_layers(net):
    """Layer types with their sizes, in order."""
    layers = [net.normalization, *net.encoder, *net.decoder]
    return [
        (type(layer).__name__, layer.in_features, layer.out_features)
        if isinstance(layer, nn.Linear)
        else (type(layer).__name__, *([layer.num_features] if isinstance(layer, nn.BatchNorm1d) else []))
        for layer in layers
    ]


def test_the_layers_are_the_published_ones():
    """src/models.py of the reference: dropout after every ReLU except the latent's, none at the end."""
    relu_, drop = ("ReLU",), ("Dropout",)
    down = [("Linear", 512, 384), relu_, drop, ("Linear", 384, 256), relu_, drop, ("Linear", 256, 128), relu_]
    up = [("Linear", 128, 256), relu_, drop, ("Linear", 256, 384), relu_, drop, ("Linear", 384, 512)]
    assert describe_layers(EmbeddingAutoencoder(512, [384, 256, 128])) == [("BatchNorm1d", 512), *down, *up]
    two = [("Linear", 768, 512), relu_, drop, ("Linear", 512, 256), relu_]
    back = [("Linear", 256, 512), relu_, drop, ("Linear", 512, 768)]
    assert describe_layers(EmbeddingAutoencoder(768, [512, 256])) == [("BatchNorm1d", 768), *two, *back]
    rates = {layer.p for layer in EmbeddingAutoencoder(512, [384, 256]).modules() if isinstance(layer, nn.Dropout)}
    assert rates == {0.3}


def test_the_output_equals_the_layers_in_sequence():
    torch.manual_seed(0)
    net = EmbeddingAutoencoder(6, [5, 3]).train()
    net(torch.randn(40, 6) * 2 + 1)  # update the running statistics
    net.eval()
    x = torch.randn(4, 6)
    norm = net.normalization
    h = (x - norm.running_mean) / (norm.running_var + norm.eps).sqrt() * norm.weight + norm.bias
    down, up = ([layer for layer in half if isinstance(layer, nn.Linear)] for half in (net.encoder, net.decoder))
    for layer in down:
        h = relu(linear(h, layer.weight, layer.bias))
    reconstructed, latent = net(x)
    torch.testing.assert_close(latent, h)
    torch.testing.assert_close(net.encode(x), h)
    h = relu(linear(h, up[0].weight, up[0].bias))
    torch.testing.assert_close(reconstructed, linear(h, up[1].weight, up[1].bias))
