// Swap a face on Android with an exported folder, by ONNX Runtime (1.17 or newer):
//
//   implementation("com.microsoft.onnxruntime:onnxruntime-android:1.23.0")
//   implementation("androidx.exifinterface:exifinterface:1.4.1")
//
//   val swapper = Swapper(File(context.filesDir, "product"))      // copied there from the assets or downloaded
//   val who = swapper.identity(source, sourceLandmarks)           // once; null for a product of one identity
//   val picture = swapper.swap(photo, landmarks, who)             // off the main thread
//   saveSynthetic(picture, File(context.filesDir, "swap.jpg"))
//
// Bitmaps are upright ARGB_8888 in software memory (ImageDecoder: ALLOCATOR_SOFTWARE). Landmarks are five points in
// pixels: left eye, right eye, nose, left and right mouth corner as seen in the picture. Pixel (i, j) has its centre at
// (i + 0.5, j + 0.5), which is also the convention of Matrix, Canvas and BitmapShader.

package com.example.swapper

import ai.onnxruntime.OnnxTensor
import ai.onnxruntime.OrtEnvironment
import ai.onnxruntime.OrtSession
import ai.onnxruntime.TensorInfo
import android.graphics.Bitmap
import android.graphics.BitmapShader
import android.graphics.Canvas
import android.graphics.Color
import android.graphics.Matrix
import android.graphics.Paint
import android.graphics.PointF
import android.graphics.Shader
import androidx.exifinterface.media.ExifInterface
import java.io.Closeable
import java.io.File
import java.nio.FloatBuffer
import kotlin.math.roundToInt
import org.json.JSONObject

/** From this mask value on, the pixel of the crop replaces that of the photo; below, they are blended. */
private const val SOLID = 0.25f

/** Width of the blended border of the crop, as a share of its side. */
private const val FEATHER = 0.1f

/** An exported folder. precision: of the files to use, as the card names it. */
class Swapper(private val folder: File, private val precision: String = "fp32") : Closeable {
    private val card = JSONObject(File(folder, "card.json").readText())
    private val environment = OrtEnvironment.getEnvironment()
    private val sessions = mutableMapOf<String, OrtSession>()

    /** The person of a photo as the numbers that the swapping network wants. Only for a product that takes any. */
    fun identity(photo: Bitmap, landmarks: List<PointF>): FloatArray {
        val encoder = card.getJSONObject("encoder")
        val size = encoder.getInt("size")
        val crop = cut(photo, align(landmarks, encoder.getJSONObject("template"), size), size)
        return run("injection", run("encoder", mapOf("crop" to crop))).getValue("identity")
    }

    /** A copy of the photo with another face. identity: null for a product that holds one. */
    fun swap(photo: Bitmap, landmarks: List<PointF>, identity: FloatArray? = null): Bitmap {
        val size = card.getInt("size")
        val onto = align(landmarks, card.getJSONObject("template"), size)
        val inputs = mutableMapOf("target" to cut(photo, onto, size))
        if (identity != null) inputs["identity"] = identity
        val outputs = run("swap", inputs)
        val layer = layerOf(outputs.getValue("image"), outputs.getValue("mask"), size)
        val back = Matrix().also { check(onto.invert(it)) }
        return photo.copy(Bitmap.Config.ARGB_8888, true).also { draw(layer, back, Canvas(it)) }
    }

    override fun close() = sessions.values.forEach { it.close() }

    /** Outputs of a network by their names, flat. Each network is loaded once. */
    private fun run(network: String, inputs: Map<String, FloatArray>): Map<String, FloatArray> {
        val session = sessions.getOrPut(network) {
            environment.createSession(fileOf(network).path, OrtSession.SessionOptions())
        }
        val tensors = inputs.mapValues { (name, values) ->
            val info = session.inputInfo.getValue(name).info as TensorInfo
            OnnxTensor.createTensor(environment, FloatBuffer.wrap(values), info.shape)
        }
        try {
            session.run(tensors).use { outputs ->
                return outputs.associate { (name, value) -> name to floats((value as OnnxTensor).floatBuffer) }
            }
        } finally {
            tensors.values.forEach { it.close() }
        }
    }

    private fun fileOf(network: String): File {
        val files = card.getJSONArray("files")
        val record = (0 until files.length()).map(files::getJSONObject)
            .first { listOf("network", "format", "precision").map(it::getString) == listOf(network, "onnx", precision) }
        return File(folder, record.getString("path"))
    }
}

private fun floats(buffer: FloatBuffer) = FloatArray(buffer.remaining()).also { buffer.get(it) }

/** From pixels of the photo to pixels of a crop: the similarity with the least squared error. */
private fun align(landmarks: List<PointF>, template: JSONObject, size: Int): Matrix {
    val points = template.getJSONArray("points")
    val onto = (0 until points.length()).map(points::getJSONArray)
        .map { PointF((it.getDouble(0) * size).toFloat(), (it.getDouble(1) * size).toFloat()) }
    require(landmarks.size == onto.size) { "${onto.size} landmarks wanted, got ${landmarks.size}" }
    val (px, py) = centre(landmarks)
    val (ox, oy) = centre(onto)
    var norm = 0f
    var a = 0f
    var b = 0f
    for ((point, wanted) in landmarks.zip(onto)) {
        val (x, y) = point.x - px to point.y - py
        val (u, v) = wanted.x - ox to wanted.y - oy
        norm += x * x + y * y
        a += x * u + y * v
        b += x * v - y * u
    }
    a /= norm
    b /= norm
    val rows = floatArrayOf(a, -b, ox - a * px + b * py, b, a, oy - b * px - a * py, 0f, 0f, 1f)
    return Matrix().apply { setValues(rows) }
}

private fun centre(points: List<PointF>) =
    points.map { it.x }.average().toFloat() to points.map { it.y }.average().toFloat()

/** Draw a bitmap by a matrix from its pixels to those of the canvas. Outside, its border goes on. */
private fun draw(bitmap: Bitmap, matrix: Matrix, canvas: Canvas) {
    var small = bitmap
    val local = Matrix(matrix)
    while (local.mapRadius(1f) < 0.5f) { // bilinear sampling does not average: halve first
        val (width, height) = small.width to small.height
        small = Bitmap.createScaledBitmap(small, (width + 1) / 2, (height + 1) / 2, true)
        local.preScale(width / small.width.toFloat(), height / small.height.toFloat())
    }
    val paint = Paint(Paint.FILTER_BITMAP_FLAG)
    paint.shader = BitmapShader(small, Shader.TileMode.CLAMP, Shader.TileMode.CLAMP).apply { setLocalMatrix(local) }
    canvas.drawPaint(paint)
}

/** The crop that a network takes: red, green and blue planes (NCHW) in [0, 1]. */
private fun cut(photo: Bitmap, onto: Matrix, size: Int): FloatArray {
    val crop = Bitmap.createBitmap(size, size, Bitmap.Config.ARGB_8888)
    draw(photo, onto, Canvas(crop))
    val pixels = IntArray(size * size)
    crop.getPixels(pixels, 0, size, 0, 0, size, size)
    return FloatArray(3 * pixels.size) { index ->
        val shift = 16 - 8 * (index / pixels.size)
        (pixels[index % pixels.size] shr shift and 0xff) / 255f
    }
}

/**
 * What goes into the photo, with the alpha of each pixel. That is 0 at the outermost pixels, so that the crop leaves no
 * edge, and 0 where the network changed nothing, so that the photo keeps its own sharpness there.
 */
private fun layerOf(image: FloatArray, mask: FloatArray, size: Int): Bitmap {
    val area = size * size
    fun byte(value: Float) = (value.coerceIn(0f, 1f) * 255).roundToInt()
    val colours = IntArray(area) { index ->
        val (column, row) = index % size to index / size
        val inwards = minOf(minOf(column, row), minOf(size - 1 - column, size - 1 - row)) / (FEATHER * size)
        val share = inwards.coerceAtMost(1f) * (mask[index] / SOLID).coerceIn(0f, 1f)
        Color.argb(byte(share), byte(image[index]), byte(image[area + index]), byte(image[2 * area + index]))
    }
    return Bitmap.createBitmap(colours, size, size, Bitmap.Config.ARGB_8888)
}

/** Write a JPEG that says that it shows a synthetic face. */
fun saveSynthetic(picture: Bitmap, file: File) {
    file.outputStream().use { picture.compress(Bitmap.CompressFormat.JPEG, 95, it) }
    ExifInterface(file).apply {
        setAttribute(ExifInterface.TAG_SOFTWARE, "IDN (idn-distill)")
        setAttribute(
            ExifInterface.TAG_IMAGE_DESCRIPTION,
            "Contains faces made by a face-swapping network; they are not photographs of anybody. " +
                "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia",
        )
        saveAttributes()
    }
}
