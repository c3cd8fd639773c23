"""Which point defect is in this metal?"""
