"""stub to be replaced"""
ENVIRONMENT_VARIABLE = "MBO_GYM_DESIGN_BENCH"
