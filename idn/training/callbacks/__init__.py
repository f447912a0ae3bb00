"""Lightning callbacks: checkpoints, picture grids, snapshots, trust histogram, progress."""
