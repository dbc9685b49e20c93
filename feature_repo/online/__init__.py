"""The online store: guarded Feast stores, reads of one entity, and materialization.

`entity_reader` is offered to the service. The sub-packages are the stored form, the two stores and
the compute engine.
"""
