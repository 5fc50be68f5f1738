"""Embedding autoencoder: embeddings of a pretrained network, reconstructed by a small autoencoder."""

from offnormal.detectors.embedding_ae.detector import EmbeddingAE
from offnormal.detectors.embedding_ae.options import EmbeddingAEOptions

__all__ = ["EmbeddingAE", "EmbeddingAEOptions"]
