"""The model: encoder, decoder, prior and likelihood put together, and what estimators integrate."""
