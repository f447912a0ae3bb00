"""Published swappers, one file per family: SimSwap, GHOST, HifiFace, inswapper, FaceShifter."""
