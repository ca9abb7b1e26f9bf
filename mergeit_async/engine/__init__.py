"""A plan and its settings come in; journaled outcomes go out, under limits, with resumption."""
