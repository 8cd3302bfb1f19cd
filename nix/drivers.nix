# The driver of NVIDIA's that came with each toolkit, by its major version: the table of ../xtask/src/cuda.rs, which says why
# it is the oldest that will do. A test holds the two together.
{
  "11.4" = 470;
  "11.5" = 495;
  "11.6" = 510;
  "11.7" = 515;
  "11.8" = 520;
  "12.0" = 525;
  "12.1" = 530;
  "12.2" = 535;
  "12.3" = 545;
  "12.4" = 550;
  "12.5" = 555;
  "12.6" = 560;
  "12.8" = 570;
  "12.9" = 575;
  "13.0" = 580;
  "13.1" = 590;
}
