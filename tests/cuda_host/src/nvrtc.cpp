// NVRTC: a CUDA source becomes a shared library, by the C++ compiler and the prelude. The "binary" is the library's
// path.
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <regex>
#include <sstream>

#include "state.h"

using namespace host;

struct Program {
  std::string source, log, path;
};

static std::string read(const std::string& path) {
  std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

// What a parameter is, from its text
static std::string use_of(const std::string& parameter) {
  const bool pointer = parameter.find('*') != std::string::npos || parameter.find("CArray") != std::string::npos;
  if (parameter.find("CIndexer") != std::string::npos) return "Parameter::indexer";
  if (!pointer) return "Parameter::value";
  const size_t constant = parameter.find("const ");
  return constant != std::string::npos && constant < parameter.find('*') ? "Parameter::reads" : "Parameter::writes";
}

static std::string uses_of(const std::string& source, size_t at) {  // `at`: behind the opening parenthesis
  std::string uses, parameter;
  for (int depth = 1; depth; ++at) {
    const char c = source.at(at);
    depth += (c == '(' || c == '<') - (c == ')' || c == '>');
    if (!depth || (depth == 1 && c == ',')) {
      if (parameter.find_first_not_of(" \n\t") != std::string::npos) uses += ", " + use_of(parameter);
      parameter.clear();
    } else {
      parameter += c;
    }
  }
  return uses;
}

static std::string exports(const std::string& source, bool meet) {
  static const std::regex kernel(
      R"(extern\s+"C"\s+__global__\s+void\s+(?:__launch_bounds__\(([^)]*)\)\s*)?(\w+)\s*\()");
  std::string text;
  for (std::sregex_iterator it(source.begin(), source.end(), kernel), end; it != end; ++it) {
    const std::string bound = (*it)[1].str();
    text += "HOST_KERNEL(" + (*it)[2].str() + (meet ? ", true, (" : ", false, (") + (bound.empty() ? "1024" : bound) +
            ")" + uses_of(source, it->position() + it->length()) + ")\n";
  }
  return text;
}

API const char* nvrtcGetErrorString(int status) { return status ? "NVRTC_ERROR_COMPILATION" : "NVRTC_SUCCESS"; }
API int nvrtcVersion(int* major, int* minor) { return *major = 13, *minor = 0, 0; }
API int nvrtcGetNumSupportedArchs(int* number) { return *number = 7, 0; }
API int nvrtcGetSupportedArchs(int* capabilities) {
  for (int capability : {75, 80, 86, 89, 90, 100, 120}) *capabilities++ = capability;
  return 0;
}

API int nvrtcCreateProgram(Program** program, const char* source, const char*, int, const char**, const char**) {
  return *program = new Program{source, "", ""}, 0;
}
API int nvrtcDestroyProgram(Program** program) { return delete *program, *program = nullptr, 0; }

API int nvrtcCompileProgram(Program* program, int number, const char** options) {
  LOCK;
  count("nvrtcCompileProgram");
  if (capturing()) count("nvrtcCompileProgram in a capture");
  std::string defines, folders = " -I'" + paths.include + "'";
  for (int i = 0; i < number; ++i) {
    const std::string option = options[i];
    if (option.rfind("-I", 0) == 0 && option.find("_cccl") == std::string::npos) folders += " '" + option + "'";
    if (option.rfind("-D", 0) != 0) continue;
    const size_t equals = option.find('=');
    defines += "#define " +
               (equals == std::string::npos ? option.substr(2) + " 1"
                                            : option.substr(2, equals - 2) + " " + option.substr(equals + 1)) +
               "\n";
  }
  // a block's dynamic shared memory is one array of the prelude's, `shared_memory`
  const std::string source = std::regex_replace(program->source, std::regex("extern\\s+__shared__"), "extern");
  const bool meets =
      std::regex_search(source, std::regex("__sync|__shfl|mma_|_REDUCE\\("));  // threads wait for each other
  const std::string architecture = "#define __CUDA_ARCH__ " + std::to_string(settings.capability * 10) + "\n";
  const std::string text = architecture + defines + source + "\n" + exports(source, meets);
  char name[40];
  snprintf(name, sizeof name, "/%016zx", std::hash<std::string>()(text + folders + paths.salt));
  const std::string base = paths.cache + name;
  program->path = base + ".so";
  struct stat found;
  if (!stat(program->path.c_str(), &found)) return 0;
  const std::string own = base + "." + std::to_string(getpid());  // another process may build the same at the same time
  std::ofstream(own + ".cpp") << text;
  const std::string command = paths.compiler + folders + " -shared -o " + own + ".so " + own + ".cpp 2>" + own +
                              ".log && mv " + own + ".so " + program->path;
  count("kernels built");
  const int status = system(command.c_str());
  program->log = read(own + ".log");
  unlink((own + ".log").c_str());
  if (!getenv("CUDA_HOST_KEEP")) unlink((own + ".cpp").c_str());
  if (status) violation("a kernel does not compile: " + program->log.substr(0, 2000));
  return status ? 6 : 0;
}

static int put(const std::string& text, char* to) { return memcpy(to, text.c_str(), text.size() + 1), 0; }
API int nvrtcGetCUBINSize(Program* program, size_t* size) { return *size = program->path.size() + 1, 0; }
API int nvrtcGetCUBIN(Program* program, char* to) { return put(program->path, to); }
API int nvrtcGetPTXSize(Program* program, size_t* size) { return nvrtcGetCUBINSize(program, size); }
API int nvrtcGetPTX(Program* program, char* to) { return put(program->path, to); }
API int nvrtcGetProgramLogSize(Program* program, size_t* size) { return *size = program->log.size() + 1, 0; }
API int nvrtcGetProgramLog(Program* program, char* to) { return put(program->log, to); }
API int nvrtcAddNameExpression(Program*, const char* name) {
  LOCK;
  violation(std::string("name expressions are not part of the stand-in: ") + name);
  return 0;
}
API int nvrtcGetLoweredName(Program*, const char* name, const char** lowered) { return *lowered = name, 0; }
API int nvrtcGetLTOIRSize(Program*, size_t*) { return 1; }
API int nvrtcGetLTOIR(Program*, char*) { return 1; }
