"""foveal on Ray: a Ray Serve application in front of replicas, and Ray Data pipelines over archives.

Nothing else of foveal imports Ray, and no module here does when it is imported: `foveal serve` knows nothing of it.
"""
