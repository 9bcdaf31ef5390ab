"""Lowering: from reals to exact integers, and from integers to hardware."""
