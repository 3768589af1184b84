// Adds three items, tells what a user did, and asks what to show: node recommend.mjs [HOST:PORT]
// Prints one line of JSON a step. RECWIRE_API_KEY: the key to call with. RECWIRE_CA_FILE: speak TLS, and trust this
// authority; a key beyond this machine goes over TLS only.

import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

import grpc from "@grpc/grpc-js";
import protoLoader from "@grpc/proto-loader";

const PROTOS = fileURLToPath(new URL("../../../protos", import.meta.url));
const SERVICE_CONFIG = new URL("../../service_config.json", import.meta.url);
const { RECWIRE_API_KEY: API_KEY, RECWIRE_CA_FILE: CA_FILE } = process.env;
const ADDRESS = process.argv[2] ?? process.env.RECWIRE_ADDRESS ?? "127.0.0.1:50051";
const DEADLINE_MS = 5000; // without one, a call waits for ever

// longs: revisions stay below 2^53, so that numbers hold them. Fields are in camelCase.
const { recwire } = grpc.loadPackageDefinition(
  protoLoader.loadSync(["recwire/v1/catalog_service.proto", "recwire/v1/recommender_service.proto"], {
    includeDirs: [PROTOS],
    longs: Number,
    enums: String,
    defaults: true,
    oneofs: true,
  }),
);
if (API_KEY && !CA_FILE && !/^(localhost|127\.[\d.]+|\[::1\]):\d+$/.test(ADDRESS)) {
  throw new Error(`the key would go to ${ADDRESS} in plain text: set RECWIRE_CA_FILE`);
}
const credentials = CA_FILE ? grpc.credentials.createSsl(readFileSync(CA_FILE)) : grpc.credentials.createInsecure();
const metadata = new grpc.Metadata();
if (API_KEY) metadata.set("authorization", `Bearer ${API_KEY}`);
const channelOptions = {
  "grpc.service_config": readFileSync(SERVICE_CONFIG, "utf8"), // what is retried, and when retries end
  // An idle connection that is silent for a minute is one that load balancers drop.
  "grpc.keepalive_time_ms": 30_000,
  "grpc.keepalive_timeout_ms": 10_000,
  "grpc.keepalive_permit_without_calls": 1,
};
const catalog = new recwire.v1.CatalogService(ADDRESS, credentials, channelOptions);
const recommender = new recwire.v1.RecommenderService(ADDRESS, credentials, channelOptions);

// Resolves to the response; rejects with gRPC's error: code, details and metadata.
function call(service, rpc, request) {
  return new Promise((resolve, reject) => {
    service[rpc](request, metadata, { deadline: Date.now() + DEADLINE_MS }, (error, response) =>
      error ? reject(error) : resolve(response),
    );
  });
}

// A vector travels as float32, little-endian, at any offset of a Buffer.
function vectorOf(bytes) {
  return Float32Array.from({ length: bytes.length / 4 }, (_, i) => bytes.readFloatLE(4 * i));
}

function print(step, result) {
  console.log(JSON.stringify({ step, ...result }));
}

async function main() {
  const items = [
    { itemId: "1", title: "A thrilling science fiction novel set in the future." },
    { itemId: "2", title: "A guide to electric car maintenance." },
    { itemId: "3", title: "A guide to hiking trails in the mountains." },
  ];
  print("upsertItems", await call(catalog, "UpsertItems", { items }));

  // With ids of their own, events count once, however often this runs.
  const events = [
    { eventId: "node-1", itemId: "1", type: "EVENT_TYPE_VIEW" },
    { eventId: "node-2", text: "space travel", type: "EVENT_TYPE_SEARCH" },
  ];
  print("updateUser", await call(recommender, "UpdateUser", { userId: "ada", events }));

  const options = { limit: 2, explain: true };
  const answer = await call(recommender, "Recommend", { userId: "ada", options });
  for (const { itemId, score, strategy, contributions } of answer.recommendations) {
    print("recommend", { itemId, score, strategy, contributions });
  }

  const { embeddings, model } = await call(recommender, "Embed", { texts: ["space travel"] });
  const vector = vectorOf(embeddings[0].vector);
  print("embed", { model: model.name, dimension: vector.length, length: Math.hypot(...vector) });

  try {
    await call(recommender, "Recommend", { options }); // for whom?
  } catch (error) {
    if (error.code !== grpc.status.INVALID_ARGUMENT) throw error;
    print("error", { code: grpc.status[error.code], message: error.details });
  }
}

try {
  await main();
} catch (error) {
  console.error(`${grpc.status[error.code] ?? "failed"}: ${error.details ?? error.message}`);
  process.exitCode = 1;
} finally {
  catalog.close();
  recommender.close();
}
