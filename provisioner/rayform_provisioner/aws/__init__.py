"""AWS, the first implementation of `rayform_provisioner.clouds.Cloud`; only `clouds.py` imports this package."""
