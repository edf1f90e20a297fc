"""Playing over a network: the protocol, the server and its client."""
