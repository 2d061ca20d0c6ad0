"""ISO BMFF as Reelay writes and reads it: init segments, fragments, and progressive movies."""
