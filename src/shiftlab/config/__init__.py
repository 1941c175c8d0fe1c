"""Configuration: params.yaml and the options of an audit, typed, strict, each named once."""
