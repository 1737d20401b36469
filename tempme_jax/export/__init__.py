"""Models as files for other runtimes: ONNX and StableHLO; and a model that runs in ONNX Runtime."""
