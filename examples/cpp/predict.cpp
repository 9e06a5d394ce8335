// Labels one frame with a file of `rgbx export`, by OpenVINO, which reads ONNX as it is.
//
//     predict rgb+depth.onnx photo.ppm depth.pgm STEPS_PER_METRE labels.pgm
#include <cstdint>
#include <fstream>
#include <iostream>
#include <openvino/openvino.hpp>
#include <string>
#include <vector>

struct Picture {
    size_t width = 0, height = 0;
    std::vector<uint16_t> values;  // [height, width, channels]
};

// A binary PPM or PGM without comments, of 8 bits or of 16, whose high byte comes first.
Picture read(const std::string& path, const std::string& kind, size_t channels) {
    std::ifstream file(path, std::ios::binary);
    Picture picture;
    std::string found;
    size_t largest = 0;
    file >> found >> picture.width >> picture.height >> largest;
    file.get();
    const size_t bytes = largest > 255 ? 2 : 1, count = picture.width * picture.height * channels;
    std::vector<uint8_t> raw(file && found == kind ? count * bytes : 0);
    if (raw.empty() || !file.read(reinterpret_cast<char*>(raw.data()), raw.size()))
        throw std::runtime_error(path + ": expected a whole binary file of kind " + kind);
    for (size_t i = 0; i < count; ++i)
        picture.values.push_back(bytes == 2 ? 256 * raw[2 * i] + raw[2 * i + 1] : raw[i]);
    return picture;
}

int main(int count, char** words) try {
    if (count != 6) throw std::runtime_error("usage: predict MODEL.onnx RGB.ppm DEPTH.pgm STEPS_PER_METRE LABELS.pgm");
    const Picture rgb = read(words[2], "P6", 3), depth = read(words[3], "P5", 1);
    if (rgb.width != depth.width || rgb.height != depth.height) throw std::runtime_error("the maps differ in size");
    const size_t height = rgb.height, width = rgb.width, pixels = height * width;
    ov::Tensor colours(ov::element::u8, {1, 3, height, width}), metres(ov::element::f32, {1, 1, height, width});
    for (size_t i = 0; i < pixels; ++i) {
        for (size_t c = 0; c < 3; ++c) colours.data<uint8_t>()[c * pixels + i] = rgb.values[3 * i + c];
        metres.data<float>()[i] = depth.values[i] / std::stof(words[4]);  // 0 stays 0: not measured
    }
    ov::Core core;
    ov::CompiledModel model = core.compile_model(words[1], "CPU", ov::hint::inference_precision(ov::element::f32));
    ov::InferRequest request = model.create_infer_request();
    request.set_tensor("rgb", colours);
    request.set_tensor("depth", metres);
    request.infer();
    const uint8_t* labels = request.get_tensor("labels").data<uint8_t>();
    std::vector<size_t> areas(256);
    for (size_t i = 0; i < pixels; ++i) ++areas[labels[i]];
    for (size_t k = 0; k < areas.size(); ++k)
        if (areas[k]) std::cout << "class " << k << ": " << 100.0 * areas[k] / pixels << " %\n";
    std::ofstream out(words[5], std::ios::binary);
    out << "P5\n" << width << " " << height << "\n255\n";
    if (!out.write(reinterpret_cast<const char*>(labels), pixels)) throw std::runtime_error("cannot write the labels");
} catch (const std::exception& error) {
    std::cerr << "error: " << error.what() << "\n";
    return 2;
}
