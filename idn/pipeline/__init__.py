"""Several `idn` commands one after the other, as stages that know what they were made from."""
