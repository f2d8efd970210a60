#include "cli/app.h"

int main(int argc, char** argv) { return edgecompress::run_app(argc, argv); }
