"""Tables in, tables out: Arrow columns as parameters and outputs of a layer, data sets larger than memory, labelled arrays.

It knows arrays, Arrow and ``_layer``, and no tensor framework; pyarrow is imported when it is first used.
"""
