// Runs an ONNX model with onnxruntime: node onnxruntime.js MODEL.onnx INPUT.f32 PICTURES SIZE OUTPUT.f32
// (onnxruntime-node must be where node finds it: NODE_PATH).
const fs = require("fs");
const ort = require("onnxruntime-node");

async function main([model, input, pictures, size, output]) {
	const session = await ort.InferenceSession.create(model);
	const bytes = fs.readFileSync(input);
	const all = new Float32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
	const n = Number(pictures), side = Number(size);
	const result = await session.run({ input: new ort.Tensor("float32", all, [n, 3, side, side]) });
	const logits = result.logits.data;
	fs.writeFileSync(output, Buffer.from(logits.buffer, logits.byteOffset, 4 * logits.length));
	console.log(`${model}: ${session.inputNames} -> ${session.outputNames} ${result.logits.dims}`);
}

main(process.argv.slice(2)).catch((e) => { console.error(e.message); process.exit(1); });
