"""What runs on the robot's computer: the control loop, its spool and its uplink."""
