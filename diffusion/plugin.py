"""The names that this package adds to mbo_gym; loaded as a plugin."""

METHODS = {
    "ddom": "diffusion.ddom:DDOM",
    "demo": "diffusion.demo:DEMO",
    "dgid": "diffusion.dgid:DGID",
    "gtg": "diffusion.gtg:GTG",
}
