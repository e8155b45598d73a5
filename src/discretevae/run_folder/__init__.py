"""The one format of a run on disk: configuration, weights, checkpoint, history."""
