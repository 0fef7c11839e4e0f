"""A table whose rows are not in memory."""

from jaxdl.data.rows import Rows


class Asked(Rows):
    """A table's rows, read when asked."""

    def __init__(self, table):
        self.rows, self.names = table.rows, table.columns

    def __len__(self):
        return len(self.rows)

    def read(self, indices, names):
        return self.rows.read(indices, names)
