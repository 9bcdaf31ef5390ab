"""Layer by layer reconstruction: new weights chosen so that a layer's output, not its weights, stays close."""
