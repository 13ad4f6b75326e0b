"""Import of detectors of torchvision, Detectron2, and MMDetection as model files, without TensorFlow."""
