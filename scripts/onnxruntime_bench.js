#!/usr/bin/env node
// Inference of ONNX models in onnxruntime, timed as `vkalexnet bench` does:
//
//   onnxruntime_bench.js PROVIDERS BATCH REPEAT MODEL=FILE.onnx…     cpu,webgpu 16 5 alexnet=alexnet.onnx
//
// Prints what `vkalexnet bench -o json` prints (bench/report.go), so that `bench compare` and
// `bench report` read it. The models are those of `vkalexnet export --format onnx`; onnxruntime-node
// must be where node finds it (NODE_PATH). A provider that fails is a row that says why.
const os = require("os");
const ort = require("onnxruntime-node");

const cpu = os.cpus()[0].model;

async function measure(provider, batch, repeat, model, file) {
	const row = { device: cpu, software: true, mode: "infer", model, batch, test: "infer", variant: `onnxruntime ${provider}`, precision: "fp32" };
	let session;
	try {
		const options = { executionProviders: [provider], intraOpNumThreads: os.cpus().length };
		session = await ort.InferenceSession.create(file, options);
		const side = session.inputMetadata[0].shape[2];
		const pictures = Float32Array.from({ length: batch * 3 * side * side }, () => 2 * Math.random() - 1);
		const feeds = { [session.inputNames[0]]: new ort.Tensor("float32", pictures, [batch, 3, side, side]) };
		row.images = batch;
		row.samples = [];
		for (let i = -1; i < repeat; i++) {
			const start = process.hrtime.bigint();
			const result = await session.run(feeds);
			const seconds = Number(process.hrtime.bigint() - start) / 1e9;
			const logits = result[session.outputNames[0]].data;
			if (!logits.every(Number.isFinite)) throw new Error("a result that is no number");
			if (i >= 0) row.samples.push(seconds); // the first run warms up
		}
	} catch (e) {
		delete row.samples;
		row.na = `skipped: ${String(e.message || e).split("\n")[0].replace(/^.* was false\. /, "")}`; // without the place in its source
	}
	const middle = row.samples && [...row.samples].sort((a, b) => a - b)[Math.floor(row.samples.length / 2)];
	console.error(`  ${row.mode} ${model} batch ${batch} ${row.variant}: ${middle ? `${(batch / middle).toFixed(2)} images/s` : row.na}`);
	return row;
}

async function main([providers, batch, repeat, ...models]) {
	if (!models.length) throw new Error("usage: onnxruntime_bench.js PROVIDERS BATCH REPEAT MODEL=FILE.onnx…");
	const results = [];
	for (const model of models)
		for (const provider of providers.split(",")) results.push(await measure(provider, Number(batch), Number(repeat), ...model.split("=", 2)));
	const environment = {
		program: "onnxruntime_bench.js", version: `onnxruntime ${ort.env.versions.node}`, time: new Date().toISOString(),
		os: `${os.platform()}/${os.arch()}`, kernel: os.release(), cpu, threads: os.cpus().length, memory: os.totalmem(), load: os.loadavg()[0],
	};
	console.log(JSON.stringify({ schema: "vkalexnet-bench/1", environment, devices: [], results }, null, 1));
	if (!results.some((r) => r.samples)) throw new Error("nothing could be measured");
}

main(process.argv.slice(2)).catch((e) => { console.error(e.message); process.exit(1); });
