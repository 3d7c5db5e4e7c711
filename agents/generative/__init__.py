"""Methods that learn a generative model of good designs and draw from it."""
