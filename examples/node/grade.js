// Grades photographs with a foveal server and prints one JSON document.
//
//   npm install
//   node grade.js 127.0.0.1:50051 left.jpg right.jpg
//
// The interface is read from the image of the contract in ../../proto, so no code is generated.
'use strict';

const fs = require('node:fs');
const path = require('node:path');
const grpc = require('@grpc/grpc-js');
const protoLoader = require('@grpc/proto-loader');

const CONTRACT = path.join(__dirname, '..', '..', 'proto', 'released.binpb');

function connect(address) {
  const definition = protoLoader.loadFileDescriptorSetFromBuffer(fs.readFileSync(CONTRACT), {
    keepCase: true,
    enums: String,
    longs: Number,
    defaults: true,
    oneofs: true,
  });
  const { foveal } = grpc.loadPackageDefinition(definition);
  // Plain text is for a server on this machine; elsewhere use grpc.credentials.createSsl(...).
  return new foveal.v1.Screening(address, grpc.credentials.createInsecure(), {
    'grpc.max_send_message_length': 64 * 1024 * 1024,
  });
}

function grade(client, files) {
  const studies = files.map((file) => ({ id: file, image: { encoded: fs.readFileSync(file) } }));
  const deadline = new Date(Date.now() + 60_000);
  return new Promise((resolve, reject) => {
    client.Grade({ studies }, { deadline }, (error, response) => (error ? reject(error) : resolve(response)));
  });
}

async function main() {
  const [address, ...files] = process.argv.slice(2);
  if (!address || files.length === 0) {
    console.error('usage: node grade.js HOST:PORT PHOTO...');
    process.exit(2);
  }
  const client = connect(address);
  try {
    const response = await grade(client, files);
    const rows = response.results.map((result) =>
      result.outcome === 'error'
        ? { file: result.id, code: result.error.code, message: result.error.message }
        : {
            file: result.id,
            quality: result.grade.quality.status,
            // 'graded', 'ungradable' or 'abstained'; only the first has grades, and none of them is ever 0.
            verdict: result.grade.verdict,
            icdr: result.grade.graded && result.grade.graded.icdr,
            referral: result.grade.graded && result.grade.graded.referral,
            probability: result.grade.graded && result.grade.graded.referral_basis.probability,
          },
    );
    console.log(JSON.stringify(rows, null, 1));
  } catch (error) {
    console.error(`error: ${grpc.status[error.code] || error.code}: ${error.details || error.message}`);
    process.exitCode = 1;
  } finally {
    client.close();
  }
}

main();
