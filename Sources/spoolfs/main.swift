print("spoolfs 0.1.0")
