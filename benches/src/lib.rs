//! Measurements of kvwatch: each is a program in `src/bin`.
