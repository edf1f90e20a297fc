"""The networks: video transformer, action encoder, text encoders."""
