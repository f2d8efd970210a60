// Makes the demonstration network and runs a recipe over it, from C++:
//   consumer RECIPE FOLDER
#include <edgecompress/edgecompress.h>

#include <cstdio>
#include <fstream>
#include <string>

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  const std::string folder = argv[2];
  try {
    edgecompress::DemoRequest demo;
    demo.output = folder + "/demo";
    demo.epochs = 1;
    demo.overwrite = true;
    std::printf("%s", edgecompress::demo(demo).text.c_str());

    edgecompress::RunRequest run;
    run.recipe = argv[1];
    run.model = folder + "/demo/model.pt";
    run.output = folder + "/small";
    run.overwrite = true;
    std::int64_t events = 0;
    const edgecompress::Outcome outcome =
        edgecompress::run(run, [&](const edgecompress::ProgressEvent&) { ++events; });
    std::printf("%s", outcome.text.c_str());
    const bool has_model = std::ifstream(*run.output + "/model.pt").good();
    return outcome.code == edgecompress::ExitCode::kDone && events > 0 && has_model ? 0 : 1;
  } catch (const edgecompress::Error& error) {
    std::fprintf(stderr, "%s\n%s\n", error.what(), error.hint().c_str());
    return static_cast<int>(error.code());
  }
}
