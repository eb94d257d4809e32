// Tags the jets of events with an AOTInductor package that `panoptag export RUN --to aoti` wrote. No Python.
//
//   tag PACKAGE.pt2 EVENTS.bin [EVENTS PER CALL = 1]
//
// prints one line for each jet: event, jet, and the logits of the classes.

#include <ATen/Parallel.h>
#include <ATen/ops/from_blob.h>
#include <c10/core/InferenceMode.h>
#include <c10/util/Exception.h>
#include <torch/csrc/inductor/aoti_package/model_package_loader.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <fstream>
#include <iostream>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

// Events as write_events.py writes them; your framework would fill these from its own objects.
struct Events {
  std::int64_t num_pfo_features = 0, num_jet_features = 0;
  std::vector<float> pfo_x, jet_x;                              // rows of all events, one after the other
  std::vector<std::int64_t> pfo_ptr, jet_ptr;                   // first row of each event, and the number of rows
  std::vector<std::int64_t> constituent_jet, constituent_pfo;   // pairs of rows, sorted by jet
  std::int64_t count() const { return static_cast<std::int64_t>(pfo_ptr.size()) - 1; }
};

template <typename T>
std::vector<T> read_values(std::ifstream& file, std::int64_t count) {
  if (count < 0 || count > (std::int64_t{1} << 40)) throw std::runtime_error("the file of events is damaged");
  std::vector<T> values(static_cast<std::size_t>(count));
  file.read(reinterpret_cast<char*>(values.data()), static_cast<std::streamsize>(values.size() * sizeof(T)));
  if (!file) throw std::runtime_error("the file of events is cut short");
  return values;
}

Events read_events(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::runtime_error(path + ": no such file");
  char magic[8] = {};
  file.read(magic, sizeof magic);
  if (std::memcmp(magic, "PANOPTAG", 8) != 0) throw std::runtime_error(path + ": not written by write_events.py");
  const auto sizes = read_values<std::int64_t>(file, 6);  // events, PFOs, jets, constituents, features of each
  Events events;
  events.num_pfo_features = sizes[4];
  events.num_jet_features = sizes[5];
  events.pfo_ptr = read_values<std::int64_t>(file, sizes[0] + 1);
  events.jet_ptr = read_values<std::int64_t>(file, sizes[0] + 1);
  events.constituent_jet = read_values<std::int64_t>(file, sizes[3]);
  events.constituent_pfo = read_values<std::int64_t>(file, sizes[3]);
  events.pfo_x = read_values<float>(file, sizes[1] * sizes[4]);
  events.jet_x = read_values<float>(file, sizes[2] * sizes[5]);
  return events;
}

// The quoted words of a JSON list of strings, such as the names of the classes.
std::vector<std::string> words_of(const std::string& json) {
  std::vector<std::string> words;
  for (auto open = json.find('"'); open != std::string::npos; open = json.find('"', open + 1)) {
    const auto close = json.find('"', open + 1);
    if (close == std::string::npos) break;
    words.push_back(json.substr(open + 1, close - open - 1));
    open = close;
  }
  return words;
}

at::Tensor floats(std::vector<float>& values, std::int64_t first, std::int64_t rows, std::int64_t columns) {
  return at::from_blob(values.data() + first * columns, {rows, columns}, at::kFloat);
}

at::Tensor integers(std::vector<std::int64_t>& values) {
  return at::from_blob(values.data(), {static_cast<std::int64_t>(values.size())}, at::kLong);
}

// Values from `first` to `last`, counted from `origin`.
std::vector<std::int64_t> shifted(
    const std::vector<std::int64_t>& values, std::int64_t first, std::int64_t last, std::int64_t origin) {
  std::vector<std::int64_t> result(values.begin() + first, values.begin() + last);
  for (auto& value : result) value -= origin;
  return result;
}

class Tagger {
 public:
  explicit Tagger(const std::string& package) : loader_(package) {
    auto metadata = loader_.get_metadata();
    const auto& inputs = metadata["inputs"];
    if (inputs.empty()) throw std::runtime_error(package + ": not written by panoptag export");
    several_events_ = inputs.find("\"pfo_ptr\"") != std::string::npos;
    constituents_ = inputs.find("\"constituent_pfo\"") != std::string::npos;
    of_jets_ = metadata["level"] != "event";
    classes_ = words_of(metadata["classes"]);
  }

  // Logits of the jets of events `start` to `stop`, [jets, classes]; of a tagger of whole events, [events, classes].
  at::Tensor operator()(Events& events, std::int64_t start, std::int64_t stop) {
    const auto pfo = events.pfo_ptr[start], jet = events.jet_ptr[start];
    auto pfo_ptr = shifted(events.pfo_ptr, start, stop + 1, pfo);
    auto jet_ptr = shifted(events.jet_ptr, start, stop + 1, jet);
    const auto& jets = events.constituent_jet;
    const auto first = std::lower_bound(jets.begin(), jets.end(), jet) - jets.begin();
    const auto last = std::lower_bound(jets.begin(), jets.end(), events.jet_ptr[stop]) - jets.begin();
    auto constituent_jet = shifted(events.constituent_jet, first, last, jet);
    auto constituent_pfo = shifted(events.constituent_pfo, first, last, pfo);

    std::vector<at::Tensor> inputs;
    inputs.push_back(floats(events.pfo_x, pfo, pfo_ptr.back(), events.num_pfo_features));
    if (several_events_) inputs.push_back(integers(pfo_ptr));
    inputs.push_back(floats(events.jet_x, jet, jet_ptr.back(), events.num_jet_features));
    if (several_events_) inputs.push_back(integers(jet_ptr));
    if (constituents_) {
      inputs.push_back(integers(constituent_jet));
      inputs.push_back(integers(constituent_pfo));
    }
    return loader_.run(inputs).at(0).contiguous();
  }

  bool several_events() const { return several_events_; }
  bool of_jets() const { return of_jets_; }
  const std::vector<std::string>& classes() const { return classes_; }

 private:
  torch::inductor::AOTIModelPackageLoader loader_;
  bool several_events_ = true, constituents_ = false, of_jets_ = true;
  std::vector<std::string> classes_;
};

void run(const std::string& package, const std::string& path, std::int64_t step) {
  const c10::InferenceMode no_gradients;
  auto events = read_events(path);
  Tagger tagger(package);
  if (step < 1 || (step > 1 && !tagger.several_events())) {
    throw std::runtime_error("this package takes one event per call");
  }

  std::cout << (tagger.of_jets() ? "event,jet" : "event");
  for (const auto& name : tagger.classes()) std::cout << ',' << name;
  std::cout << '\n';
  for (std::int64_t start = 0; start < events.count(); start += step) {
    const auto stop = std::min(start + step, events.count());
    const auto logits = tagger(events, start, stop);
    const float* value = logits.const_data_ptr<float>();
    for (auto event = start; event < stop; ++event) {
      const auto rows = tagger.of_jets() ? events.jet_ptr[event + 1] - events.jet_ptr[event] : 1;
      for (std::int64_t row = 0; row < rows; ++row) {
        std::cout << event;
        if (tagger.of_jets()) std::cout << ',' << row;
        for (std::int64_t c = 0; c < logits.size(1); ++c) {
          char text[32];
          std::snprintf(text, sizeof text, ",%.9g", static_cast<double>(*value++));
          std::cout << text;
        }
        std::cout << '\n';
      }
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3 || argc > 4) {
    std::cerr << "usage: tag PACKAGE.pt2 EVENTS.bin [EVENTS PER CALL]\n";
    return 2;
  }
  at::set_num_threads(1);  // several processes side by side beat threads on graphs of this size
  try {
    run(argv[1], argv[2], argc == 4 ? std::atoll(argv[3]) : 1);
  } catch (const c10::Error& error) {
    std::cerr << argv[1] << ": " << error.what_without_backtrace() << '\n';
    return 2;
  } catch (const std::exception& error) {
    std::cerr << error.what() << '\n';
    return 2;
  }
  return 0;
}
