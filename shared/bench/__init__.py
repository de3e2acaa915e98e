from shared import need

need("torch", "jsonargparse", "sklearn")
