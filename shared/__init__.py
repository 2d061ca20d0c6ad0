"""What more than one Reelay service needs, and nothing else."""

from shared.runtime.lean import refuse_unwanted

refuse_unwanted()
