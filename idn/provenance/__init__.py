"""Provenance: pictures that say that they are synthetic, by metadata and an invisible watermark."""
