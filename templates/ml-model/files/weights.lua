--- What `train` gave for the samples of this package, with 2000 steps of 0.1.
return {
  bias = -7.372540,
  of = { 0.044853, 4.358399 },
}
