// Swap a face on iOS 16 or macOS 13 with an exported folder, by Core ML:
//
//   let swapper = try await Swapper(folder: url)                     // a copy in the app's documents or bundle
//   let who = try swapper.identity(of: source, landmarks: points)    // once; nil for a product of one identity
//   let picture = try swapper.swap(photo, landmarks: landmarks, identity: who)
//   try saveSynthetic(picture, to: file)
//
// Pictures are upright (draw a UIImage that is turned before taking its cgImage). Landmarks are five points in pixels
// from the top left corner: left eye, right eye, nose, left and right mouth corner as seen in the picture. Pixel (i, j)
// has its centre at (i + 0.5, j + 0.5), which is also the convention of Core Graphics.

import CoreGraphics
import CoreML
import Foundation
import ImageIO
import UniformTypeIdentifiers

enum SwapperError: Error {
    case missing(String)
    case landmarks
    case drawing
}

/// The parts of card.json that a client needs.
private struct Card: Decodable {
    struct Template: Decodable { let points: [[Double]] }
    struct Encoder: Decodable { let size: Int; let template: Template }
    struct File: Decodable { let path: String; let network: String; let format: String; let precision: String }
    let size: Int
    let template: Template
    let encoder: Encoder?
    let files: [File]
}

final class Swapper {
    /// From this mask value on, the pixel of the crop replaces that of the photo; below, they are blended.
    private static let solid: Float = 0.25
    /// Width of the blended border of the crop, as a share of its side.
    private static let feather: Float = 0.1

    private let card: Card
    private let models: [String: MLModel]

    /// precision: of the files to use, as the card names it.
    init(folder: URL, precision: String = "fp32") async throws {
        let text = try Data(contentsOf: folder.appendingPathComponent("card.json"))
        let card = try JSONDecoder().decode(Card.self, from: text)
        var models: [String: MLModel] = [:]
        for file in card.files where file.format == "coreml" && file.precision == precision {
            let compiled = try await MLModel.compileModel(at: folder.appendingPathComponent(file.path))
            models[file.network] = try MLModel(contentsOf: compiled)
        }
        self.card = card
        self.models = models
    }

    /// The person of a photo as the numbers that the swapping network wants. Only for a product that takes any.
    func identity(of photo: CGImage, landmarks: [CGPoint]) throws -> MLShapedArray<Float> {
        guard let encoder = card.encoder else { throw SwapperError.missing("encoder") }
        let onto = try align(landmarks, to: encoder.template, size: encoder.size)
        let seen = try run("encoder", ["crop": cut(photo, by: onto, size: encoder.size)])
        return try output("identity", of: run("injection", seen))
    }

    /// The photo with another face. identity: nil for a product that holds one.
    func swap(_ photo: CGImage, landmarks: [CGPoint], identity: MLShapedArray<Float>? = nil) throws -> CGImage {
        let onto = try align(landmarks, to: card.template, size: card.size)
        var inputs = ["target": try cut(photo, by: onto, size: card.size)]
        inputs["identity"] = identity
        let outputs = try run("swap", inputs)
        let patch = try layer(image: output("image", of: outputs), mask: output("mask", of: outputs))
        let canvas = try bitmap(width: photo.width, height: photo.height)
        draw(photo, by: .identity, into: canvas)
        draw(patch, by: onto.inverted(), into: canvas)
        return try picture(of: canvas)
    }

    /// Outputs of a network by their names.
    private func run(
        _ name: String, _ inputs: [String: MLShapedArray<Float>]
    ) throws -> [String: MLShapedArray<Float>] {
        guard let model = models[name] else { throw SwapperError.missing(name) }
        let features = try MLDictionaryFeatureProvider(dictionary: inputs.mapValues { MLMultiArray($0) })
        let outputs = try model.prediction(from: features)
        var named: [String: MLShapedArray<Float>] = [:]
        for key in outputs.featureNames {
            // A 16-bit output becomes Float here.
            named[key] = outputs.featureValue(for: key)?.multiArrayValue.map { MLShapedArray<Float>(converting: $0) }
        }
        return named
    }

    private func output(_ name: String, of all: [String: MLShapedArray<Float>]) throws -> MLShapedArray<Float> {
        guard let value = all[name] else { throw SwapperError.missing(name) }
        return value
    }

    /// From pixels of the photo to pixels of a crop: the similarity with the least squared error.
    private func align(_ landmarks: [CGPoint], to template: Card.Template, size: Int) throws -> CGAffineTransform {
        let wanted = template.points.map { CGPoint(x: $0[0] * Double(size), y: $0[1] * Double(size)) }
        guard landmarks.count == wanted.count else { throw SwapperError.landmarks }
        let (p, o) = (centre(landmarks), centre(wanted))
        var (norm, a, b): (CGFloat, CGFloat, CGFloat) = (0, 0, 0)
        for (from, to) in zip(landmarks, wanted) {
            let (x, y, u, v) = (from.x - p.x, from.y - p.y, to.x - o.x, to.y - o.y)
            norm += x * x + y * y
            a += x * u + y * v
            b += x * v - y * u
        }
        guard norm > 0 else { throw SwapperError.landmarks }
        a /= norm
        b /= norm
        return CGAffineTransform(a: a, b: b, c: -b, d: a, tx: o.x - a * p.x + b * p.y, ty: o.y - b * p.x - a * p.y)
    }

    private func centre(_ points: [CGPoint]) -> CGPoint {
        let sum = points.reduce(CGPoint.zero) { CGPoint(x: $0.x + $1.x, y: $0.y + $1.y) }
        return CGPoint(x: sum.x / CGFloat(points.count), y: sum.y / CGFloat(points.count))
    }

    /// An empty picture of RGBA bytes, premultiplied, rows from the top, in sRGB.
    private func bitmap(width: Int, height: Int) throws -> CGContext {
        guard let space = CGColorSpace(name: CGColorSpace.sRGB),
            let context = CGContext(
                data: nil, width: width, height: height, bitsPerComponent: 8, bytesPerRow: 4 * width, space: space,
                bitmapInfo: CGImageAlphaInfo.premultipliedLast.rawValue)
        else { throw SwapperError.drawing }
        return context
    }

    private func bytes(of context: CGContext) throws -> UnsafeMutableBufferPointer<UInt8> {
        guard let data = context.data else { throw SwapperError.drawing }
        let count = 4 * context.width * context.height
        return UnsafeMutableBufferPointer(start: data.assumingMemoryBound(to: UInt8.self), count: count)
    }

    private func picture(of context: CGContext) throws -> CGImage {
        guard let image = context.makeImage() else { throw SwapperError.drawing }
        return image
    }

    /// Draw a picture by a map from its pixels to those of the context, both counted from the top left corner.
    /// Core Graphics counts from the bottom left, hence the two flips. Outside of the picture nothing is drawn.
    private func draw(_ image: CGImage, by map: CGAffineTransform, into context: CGContext) {
        func flip(_ height: Int) -> CGAffineTransform {
            CGAffineTransform(a: 1, b: 0, c: 0, d: -1, tx: 0, ty: CGFloat(height))
        }
        context.saveGState()
        context.interpolationQuality = .high
        context.concatenate(flip(image.height).concatenating(map).concatenating(flip(context.height)))
        context.draw(image, in: CGRect(x: 0, y: 0, width: image.width, height: image.height))
        context.restoreGState()
    }

    /// The crop that a network takes: (1, 3, size, size), red, green and blue planes in [0, 1].
    private func cut(_ photo: CGImage, by onto: CGAffineTransform, size: Int) throws -> MLShapedArray<Float> {
        let context = try bitmap(width: size, height: size)
        draw(photo, by: onto, into: context)
        let pixels = try bytes(of: context)
        let area = size * size
        let planes = (0..<3 * area).map { Float(pixels[4 * ($0 % area) + $0 / area]) / 255 }
        return withExtendedLifetime(context) { MLShapedArray(scalars: planes, shape: [1, 3, size, size]) }
    }

    /// What goes into the photo, with the alpha of each pixel. That is 0 at the outermost pixels, so that the crop
    /// leaves no edge, and 0 where the network changed nothing, so that the photo keeps its own sharpness there.
    private func layer(image: MLShapedArray<Float>, mask: MLShapedArray<Float>) throws -> CGImage {
        let size = card.size
        let area = size * size
        let context = try bitmap(width: size, height: size)
        let pixels = try bytes(of: context)
        let (planes, open) = (image.scalars, mask.scalars)
        for index in 0..<area {
            let (column, row) = (index % size, index / size)
            let inwards = Float(min(column, row, size - 1 - column, size - 1 - row)) / (Swapper.feather * Float(size))
            let share = min(inwards, 1) * min(max(open[index] / Swapper.solid, 0), 1)
            for channel in 0..<3 {
                let value = min(max(planes[channel * area + index], 0), 1)
                pixels[4 * index + channel] = UInt8((value * share * 255).rounded())
            }
            pixels[4 * index + 3] = UInt8((share * 255).rounded())
        }
        return try picture(of: context)
    }
}

/// Write a PNG that says that it shows a synthetic face.
func saveSynthetic(_ picture: CGImage, to file: URL) throws {
    let notes: [CFString: Any] = [
        kCGImagePropertyIPTCDictionary: [
            kCGImagePropertyIPTCExtDigitalSourceType:
                "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia"
        ],
        kCGImagePropertyPNGDictionary: [
            kCGImagePropertyPNGSoftware: "IDN (idn-distill)",
            kCGImagePropertyPNGDescription:
                "Contains faces made by a face-swapping network; they are not photographs of anybody.",
        ],
    ]
    let kind = UTType.png.identifier as CFString
    guard let destination = CGImageDestinationCreateWithURL(file as CFURL, kind, 1, nil) else {
        throw SwapperError.drawing
    }
    CGImageDestinationAddImage(destination, picture, notes as CFDictionary)
    guard CGImageDestinationFinalize(destination) else { throw SwapperError.drawing }
}
