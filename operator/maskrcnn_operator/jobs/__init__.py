"""Jobs, pods, and Services of experiments: their manifests, and the state of attempts read from them."""
